"""Names of API Gateway's extensions to OpenAPI, and of the methods of an operation."""

ANY = "x-amazon-apigateway-any-method"
INTEGRATION = "x-amazon-apigateway-integration"
AUTHORIZER = "x-amazon-apigateway-authorizer"
VERBS = ("delete", "get", "head", "options", "patch", "post", "put")
