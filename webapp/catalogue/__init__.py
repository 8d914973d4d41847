"""Events, fields and causes as data, and the closed lists of words. Imports nothing of ours."""
