"""Why a reward model likes a picture: the places that it rests on, and the phrases that earn it."""
