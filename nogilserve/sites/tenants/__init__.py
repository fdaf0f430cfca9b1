"""Applications by template: whose request it is, where that tenant lives, and when it lives.

`peek` looks at the first bytes of a connection, `place` finds a tenant on disk, `table`
decides who is started and who has to go. None of them starts anything; `supervise/tenants` does.
"""
