// Unary calls over gRPC's C++ library, as README.md says.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

using std::string;

struct Call {
  string path;
  int deadline_ms = 20000;
  int metadata_bytes = 0;
  bool gzip = false;
  string message;
};

class Tally {
 public:
  void add(int status, const string& answer) {
    std::lock_guard<std::mutex> lock(mutex_);
    ++counts_[status];
    ++total_;
    if (status == 0) answer_ = answer;
    changed_.notify_all();
  }

  void wait(int total) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return total_ >= total; });
  }

  void print() {
    std::lock_guard<std::mutex> lock(mutex_);
    const char* between = "";
    for (const auto& [status, count] : counts_) {
      std::cout << between << status << ':' << count;
      between = " ";
    }
    std::cout << ' ' << (answer_.empty() ? "-" : answer_) << std::endl;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int, int> counts_;
  int total_ = 0;
  string answer_;
};

static string of_hex(const string& hex) {
  string bytes;
  if (hex == "-") return bytes;
  for (size_t at = 0; at + 1 < hex.size(); at += 2)
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(at, 2), nullptr, 16)));
  return bytes;
}

static string to_hex(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  buffer.Dump(&slices);
  static const char digits[] = "0123456789abcdef";
  string hex;
  for (const auto& slice : slices)
    for (size_t at = 0; at < slice.size(); ++at) {
      hex.push_back(digits[slice.begin()[at] >> 4]);
      hex.push_back(digits[slice.begin()[at] & 15]);
    }
  return hex;
}

static string file(const char* path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

static void ask(grpc::GenericStub& stub, const Call& call, Tally& tally, std::function<void()> then = [] {}) {
  struct State {
    grpc::ClientContext context;
    grpc::ByteBuffer request, response;
  };
  auto* state = new State;
  grpc::Slice slice(call.message);
  state->request = grpc::ByteBuffer(&slice, 1);
  state->context.set_wait_for_ready(true);
  state->context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(call.deadline_ms));
  if (call.metadata_bytes) state->context.AddMetadata("x-padding", string(call.metadata_bytes, 'p'));
  if (call.gzip) state->context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  stub.UnaryCall(&state->context, call.path, grpc::StubOptions(), &state->request, &state->response,
                 [state, &tally, then](grpc::Status status) {
                   tally.add(status.error_code(), status.ok() ? to_hex(state->response) : "");
                   delete state;
                   then();
                 });
}

static void flood(grpc::GenericStub& stub, const Call& call, int seconds, int threads, Tally& tally) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  std::vector<std::thread> running;
  for (int number = 0; number < threads; ++number)
    running.emplace_back([&] {
      while (std::chrono::steady_clock::now() < end) {
        std::mutex mutex;
        std::condition_variable done;
        bool ended = false;
        ask(stub, call, tally, [&] {
          std::lock_guard<std::mutex> lock(mutex);
          ended = true;
          done.notify_all();
        });
        std::unique_lock<std::mutex> lock(mutex);
        done.wait(lock, [&] { return ended; });
      }
    });
  for (auto& one : running) one.join();
}

int main(int count, char** arguments) {
  auto credentials = grpc::InsecureChannelCredentials();
  grpc::ChannelArguments options;
  if (count > 4) {
    grpc::SslCredentialsOptions tls{file(arguments[2]), file(arguments[4]), file(arguments[3])};
    credentials = grpc::SslCredentials(tls);
    options.SetSslTargetNameOverride("localhost");
  }
  options.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 200);
  options.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  options.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  options.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  options.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  options.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  grpc::GenericStub stub(grpc::CreateCustomChannel(arguments[1], credentials, options));
  string line;
  while (std::getline(std::cin, line)) {
    std::istringstream fields(line);
    Tally tally;
    Call call;
    string word, hex;
    fields >> word;
    if (word == "flood") {
      int seconds, threads;
      fields >> call.path >> seconds >> threads >> hex;
      call.message = of_hex(hex);
      flood(stub, call, seconds, threads, tally);
    } else {
      int times;
      call.path = word;
      fields >> call.deadline_ms >> times >> call.metadata_bytes >> call.gzip >> hex;
      call.message = of_hex(hex);
      for (int number = 0; number < times; ++number) ask(stub, call, tally);
      tally.wait(times);
    }
    tally.print();
  }
}
