"""The HTTP side: application, routes, schemas, middleware, API description."""
