"""Where models come from: folders of model files, installed packages, and the zoo; and how their files are loaded."""
