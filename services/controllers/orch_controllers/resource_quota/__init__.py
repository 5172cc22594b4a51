"""Resource quota: says in each quota's status what the objects of its namespace use."""
