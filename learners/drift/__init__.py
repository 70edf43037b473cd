"""Has anything moved since a release began to answer: its loss, its scores, its features?"""
