// grpc-go's server with the generated code of the same interface, which decides nothing.
// Prints its port, then serves until it is killed.

package main

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"

	exhook "exhook_v3"
)

type constant struct {
	exhook.UnimplementedHookProviderServer
}

func allow() *exhook.ValuedResponse {
	return &exhook.ValuedResponse{
		Type:  exhook.ValuedResponse_STOP_AND_RETURN,
		Value: &exhook.ValuedResponse_BoolResult{BoolResult: true},
	}
}

func (constant) OnClientAuthenticate(context.Context, *exhook.ClientAuthenticateRequest) (*exhook.ValuedResponse, error) {
	return allow(), nil
}

func (constant) OnClientAuthorize(context.Context, *exhook.ClientAuthorizeRequest) (*exhook.ValuedResponse, error) {
	return allow(), nil
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	exhook.RegisterHookProviderServer(server, &constant{})
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(server.Serve(listener))
}
