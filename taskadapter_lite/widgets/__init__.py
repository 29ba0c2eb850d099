"""Things to click in a notebook: browse episodes, explore attention and alignment, try one's own videos.

Every widget draws with `figures` and shows a still picture where no kernel runs.
"""

from taskadapter_lite.widgets.base import LiveCurves
from taskadapter_lite.widgets.browser import EpisodeBrowser
from taskadapter_lite.widgets.explorers import AlignmentExplorer, AttentionExplorer
from taskadapter_lite.widgets.playground import FewShotPlayground

__all__ = ["AlignmentExplorer", "AttentionExplorer", "EpisodeBrowser", "FewShotPlayground", "LiveCurves"]
