"""``python -m modelyard.services.sync``: follows the model store's bucket; with arguments, asks it something once."""

import sys

from modelyard.models.errors import ModelyardError
from modelyard.models.imports import end_on_sigterm, pause_gc

end_on_sigterm()
with pause_gc():
    from modelyard.services.sync.process import main

try:
    sys.exit(main(sys.argv[1:]))
except ModelyardError as error:
    sys.exit(str(error))
