"""One module a verb of `python -m taskadapter_lite`: HELP, add_arguments(parser), run(args) -> status."""
