"""Service load balancers: gives services of type LoadBalancer an address of a pool, and takes it back."""
