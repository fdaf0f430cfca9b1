"""`nogilserve stress APP`: find the races in an application.

The driving process (all modules here but those named next) starts *subjects*: processes that serve
the application with the ordinary engine, with `stage` between engine and application and `pauses`
in the application's code; `subject` is their main module, `turns` a request in them. Phase 1 is
`learning`: it fills a `lessons.Lesson` for each request. Phase 2 is `hunt`; what looks wrong there,
`confirm` tries one at a time, and then with fewer requests. `campaign` puts it together.
"""
