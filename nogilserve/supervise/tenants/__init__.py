"""Tenants at work: the process that listens, and hands each connection to the tenant it is for.

`front` is the thread that looks at connections and passes them on, `household` a tenant and its
generations, `master` what joins them and obeys signals, `bounds` what a tenant may use.
"""
