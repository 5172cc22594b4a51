"""How a service is run: informers, work queues, controllers, leader election and the client of the api."""
