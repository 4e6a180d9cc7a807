"""Programs that use a trained model: python -m app.<name>, and a web page.

May import the folders of `stages`, but not its entry modules, and never torch at import time.
"""

import stages  # noqa: F401  before numerical libraries, as it says
