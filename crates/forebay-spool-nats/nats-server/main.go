// A NATS server with JetStream, for the tests: it takes a configuration file.
package main

import (
	"flag"
	"os"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	options, err := server.ConfigureOptions(flag.NewFlagSet("nats-server", flag.ExitOnError), os.Args[1:], nil, nil, nil)
	if err != nil {
		panic(err)
	}
	nats, err := server.NewServer(options)
	if err != nil {
		panic(err)
	}
	nats.ConfigureLogger()
	if err := server.Run(nats); err != nil {
		panic(err)
	}
	nats.WaitForShutdown()
}
