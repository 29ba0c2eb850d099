"""Settings of nbgrader for the four assignments; run `nbgrader` commands in this folder."""

c = get_config()  # noqa: F821  (nbgrader gives it)

c.CourseDirectory.course_id = "taskadapter_lite"
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", ".pytest_cache"]
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError()"}
c.ClearSolutions.text_stub = "*Your answer here.*"
c.Execute.timeout = 120  # seconds a cell: importing torch alone takes several on a busy machine
