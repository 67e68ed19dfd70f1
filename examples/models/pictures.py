"""Which of two photographs is a piece from?"""

from modelyard import ModelSpec, image_folder

SPEC = ModelSpec(dataset=image_folder("../data/pictures", size=(64, 64)))
