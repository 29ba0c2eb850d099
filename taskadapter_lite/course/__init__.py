"""A reader's functions and guesses -> what is right, what is wrong and why, and how far the course has come.

The library does not need this room: lessons and the verb `lessons` use it. `lesson_02.py` and its neighbours hold the
checks of one lesson each, and are found by their names.
"""

from taskadapter_lite.course.checking import check
from taskadapter_lite.course.exercises import ExerciseError, agree, exercise, expect_close, expect_shape
from taskadapter_lite.course.folding import fold
from taskadapter_lite.course.guesses import reveal
from taskadapter_lite.course.installation import check_installation
from taskadapter_lite.course.progress import progress

__all__ = [
    "ExerciseError",
    "agree",
    "check",
    "check_installation",
    "exercise",
    "expect_close",
    "expect_shape",
    "fold",
    "progress",
    "reveal",
]
