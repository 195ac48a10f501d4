"""Where the runs of a study are trained: processes of this machine, tasks of a Ray cluster, jobs of SLURM."""
