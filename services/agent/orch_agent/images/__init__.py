"""The images of a node once they are here: which are listed, and which make room."""
