"""Answers as tables, bars and files, for people; programs use ``--json``. The files are called as in ``engine/api``.

Amounts are shown exactly, with thousands separated; bars are drawn from them and round to a character. Ids, names and
dimensions come from outside and are put in as ``Text``, never as markup.
"""
