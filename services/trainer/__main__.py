"""``python -m modelyard.services.trainer``: the Celery worker."""

import os
import sys

# Read by Celery when it is imported: SIGTERM then gives running jobs `drain_s`; the rest is requeued.
os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")

from modelyard.models.errors import ModelyardError
from modelyard.models.imports import end_on_sigterm, pause_gc

end_on_sigterm()
with pause_gc():
    from modelyard.services.trainer.worker import main

try:
    sys.exit(main())
except ModelyardError as error:
    sys.exit(str(error))
