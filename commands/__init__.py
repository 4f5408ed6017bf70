"""Commands that are more than a few lines: `add(command)` sets the options, `run(arguments)` gives the exit code.

Their modules are imported to parse, so what does the work is imported inside `run`.
"""
