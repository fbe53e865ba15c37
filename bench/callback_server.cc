// The yardstick: gRPC's C++ callback server with the generated code of the same interface, which decides nothing.
// Prints its port, then serves until it is killed. One thread of work where it is pinned to one core.

#include <grpcpp/grpcpp.h>

#include <iostream>
#include <string>

#include "exhook_v3.grpc.pb.h"

using namespace emqx::exhook::v3;

class Constant final : public HookProvider::CallbackService {
 public:
  grpc::ServerUnaryReactor* OnClientAuthenticate(grpc::CallbackServerContext* context,
                                                 const ClientAuthenticateRequest*, ValuedResponse* answer) override {
    return Allow(context, answer);
  }

  grpc::ServerUnaryReactor* OnClientAuthorize(grpc::CallbackServerContext* context, const ClientAuthorizeRequest*,
                                              ValuedResponse* answer) override {
    return Allow(context, answer);
  }

 private:
  static grpc::ServerUnaryReactor* Allow(grpc::CallbackServerContext* context, ValuedResponse* answer) {
    answer->set_type(ValuedResponse::STOP_AND_RETURN);
    answer->set_bool_result(true);
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

int main() {
  Constant service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  auto server = builder.BuildAndStart();
  std::cout << port << std::endl;
  server->Wait();
}
