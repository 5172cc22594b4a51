"""Root CA: every namespace has the certificate by which its pods know the api."""
