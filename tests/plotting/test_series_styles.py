from skipweave.plotting.series_styles import series_style


def test_a_hundred_series_differ():
    assert len({series_style(index) for index in range(100)}) == 100


def test_neighbors_differ_in_color_and_marker():
    for index in range(30):
        (color, marker), (next_color, next_marker) = series_style(index), series_style(index + 1)
        assert color != next_color
        assert marker != next_marker
