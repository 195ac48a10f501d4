"""Conversion of the convolutions of a network to SeqConv layers."""
