"""CEL expressions of x-kubernetes-validations: their environment, the types of documents, compiling, evaluating."""
