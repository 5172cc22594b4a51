"""Kinds that users define (CustomResourceDefinition): their schemas, rules, versions and conversions.

Modules up to `resources` know a definition and nothing else, so that the strategy of definitions can use them;
`follower` and `lifecycle` keep the registry and the definitions' status in step with what is stored.
"""
