"""Programs that train or compare several models.

They may import the folders of `stages`, but neither its entry modules nor `app`.
"""

import stages  # noqa: F401  before numerical libraries, as it says
