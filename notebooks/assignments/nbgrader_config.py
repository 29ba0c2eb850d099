"""Settings of nbgrader for the four assignments; run `nbgrader` commands in this folder."""

from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor, Preprocessor
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearOutput,
    DeduplicateIds,
    GetGrades,
    OverwriteCells,
    OverwriteKernelspec,
)

c = get_config()  # noqa: F821  (nbgrader gives it)

c.CourseDirectory.course_id = "taskadapter_lite"
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", ".pytest_cache"]
c.ClearSolutions.code_stub = {
    "python": 'raise NotImplementedError("not written yet: the task above this cell says what it returns")'
}
c.ClearSolutions.text_stub = "*Your answer here.*"
c.Execute.timeout = 120  # seconds a cell: importing torch alone takes several on a busy machine

# A learning platform's archive, a folder or a name for each student, as Moodle makes it:
# "Ada Lovelace_4711_assignsubmission_file/a1_episodes_and_intervals.ipynb"; 4711 becomes the student's name here
c.FileNameCollectorPlugin.named_regexp = (
    r".*[/\\](?P<first_name>[^/\\]+)_(?P<student_id>\d+)_assignsubmission_file_?[/\\_](?P<file_id>a\d_\w+)"
)


class RestoreQuietly(OverwriteCells):
    """Locked cells get their hidden tests back; that they lacked them before is as it should be, and not reported."""

    def report_change(self, name, attr, old, new):
        """Report other changes, such as of points."""
        if attr != "checksum":
            super().report_change(name, attr, old, new)


class MessagesAlone(Preprocessor):
    """Feedback shows the sentence of a test that failed, without the lines around it: some of them are hidden tests."""

    def preprocess_cell(self, cell, resources, index):
        """Shorten the errors of a cell."""
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                output.traceback = [f"{output.ename}: {output.evalue}"]
        return cell, resources


c.MessagesAlone.enabled = True
c.Autograde.sanitize_preprocessors = [
    ClearOutput,
    DeduplicateIds,
    OverwriteKernelspec,
    RestoreQuietly,
    CheckCellMetadata,
]
c.GenerateFeedback.preprocessors = [GetGrades, ClearHiddenTests, MessagesAlone, CSSHTMLHeaderPreprocessor]
