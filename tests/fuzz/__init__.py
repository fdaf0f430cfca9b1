"""Coverage-guided fuzzing of everything that reads bytes of strangers.

    python -m tests.fuzz [--target NAME] [--seconds N] [--engine guided|atheris] [--keep]

`targets` says what is fed and what must hold; `guided` is a mutator of our own that follows the
coverage of `sys.monitoring` on any interpreter; atheris (libFuzzer) is used where it is installed.
What was found, and inputs that reach far, are in `tests/corpus/fuzz/` and replayed by the tests.
"""
