"""The REST gateway: the only public access to Triton.

``app.create_app`` builds the application, ``server.run`` serves it. What decides lies in small modules of its own
(upload, admission, watchdog, explanation); the routes only translate.
"""
