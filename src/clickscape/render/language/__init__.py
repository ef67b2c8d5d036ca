"""The language of descriptions: a lexicon, what it reads in a text, and rewording. Data and words, no drawing."""
