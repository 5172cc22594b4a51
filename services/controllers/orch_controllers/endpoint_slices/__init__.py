"""EndpointSlices: where each service is served, in slices of a hundred; and what people write as Endpoints."""
