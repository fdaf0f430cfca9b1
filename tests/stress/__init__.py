"""Tests of the engine by stress, and of stress by planted races."""
