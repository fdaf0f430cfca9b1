"""What the tests share: waiting, a leak guard, a launcher for real servers, a raw client."""
