"""The HTTP service: application, routes, schemas, middleware, API description."""
