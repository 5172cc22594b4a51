"""Volume protection: a volume that is deleted stays for as long as it is bound to a claim."""
