module oarlock.bench/net-http

go 1.19
