"""``python -m services.scheduler``: the process that decides without being asked."""

import sys

from models.errors import ModelyardError
from services.scheduler.scheduler import main

try:
    sys.exit(main())
except ModelyardError as error:
    sys.exit(str(error))
