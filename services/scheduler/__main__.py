"""``python -m modelyard.services.scheduler``: the scheduler's process."""

import sys

from modelyard.models.errors import ModelyardError
from modelyard.models.imports import end_on_sigterm, pause_gc

end_on_sigterm()
with pause_gc():
    from modelyard.services.scheduler.scheduler import main

try:
    sys.exit(main())
except ModelyardError as error:
    sys.exit(str(error))
