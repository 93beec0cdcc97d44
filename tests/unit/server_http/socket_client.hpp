// A bare TCP client for the tests: what it sends is exactly what the test wrote.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace bai::http::test {

using Millis = std::chrono::milliseconds;
inline constexpr Millis kPatience{5000};  // nothing below waits longer for a single thing

class Client {
 public:
  explicit Client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    const int one = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  Client(Client&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        connected_(other.connected_),
        buffer_(std::move(other.buffer_)) {}
  Client(const Client&) = delete;
  ~Client() { close(); }

  bool connected() const { return connected_; }
  int fd() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  void reset() {  // an RST instead of a FIN
    const linger hard{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close();
  }
  void shut_write() { ::shutdown(fd_, SHUT_WR); }

  // False when the peer has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  // Adds what arrives within the time to the buffer. False on end of stream, error or timeout.
  bool receive_some(Millis patience = kPatience) {
    pollfd wait{fd_, POLLIN, 0};
    if (::poll(&wait, 1, static_cast<int>(patience.count())) <= 0) return false;
    char bytes[65536];
    const auto n = ::recv(fd_, bytes, sizeof bytes, 0);
    ended_ = n == 0 || (n < 0 && errno == ECONNRESET);
    if (n <= 0) return false;
    buffer_.append(bytes, static_cast<std::size_t>(n));
    return true;
  }
  std::string& buffer() { return buffer_; }

  struct Reply {
    int status = 0;
    std::string head;
    std::string body;
    std::string header(std::string_view name) const {  // names are looked for as the server writes
      const auto at = head.find("\r\n" + std::string(name) + ": ");
      if (at == std::string::npos) return {};
      const auto start = at + name.size() + 4;
      return head.substr(start, head.find("\r\n", start) - start);
    }
  };

  // One response; `headless` for the answer to HEAD, which has no body.
  std::optional<Reply> read_reply(Millis patience = kPatience, bool headless = false) {
    const auto until = std::chrono::steady_clock::now() + patience;
    const auto more = [&] {
      const auto left =
          std::chrono::duration_cast<Millis>(until - std::chrono::steady_clock::now());
      return left.count() > 0 && receive_some(left);
    };
    std::size_t end = 0;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!more()) return std::nullopt;
    }
    Reply reply;
    reply.head = buffer_.substr(0, end + 2);
    buffer_.erase(0, end + 4);
    reply.status = std::stoi(reply.head.substr(9, 3));
    if (headless || reply.status == 100) return reply;
    if (reply.header("Transfer-Encoding") == "chunked") {
      for (;;) {
        std::size_t line = 0;
        while ((line = buffer_.find("\r\n")) == std::string::npos) {
          if (!more()) return std::nullopt;
        }
        const std::size_t size = std::stoul(buffer_.substr(0, line), nullptr, 16);
        while (buffer_.size() < line + 2 + size + 2) {
          if (!more()) return std::nullopt;
        }
        reply.body += buffer_.substr(line + 2, size);
        buffer_.erase(0, line + 2 + size + 2);
        if (size == 0) return reply;
      }
    }
    const std::string length = reply.header("Content-Length");
    const std::size_t size = length.empty() ? 0 : std::stoul(length);
    while (buffer_.size() < size) {
      if (!more()) return std::nullopt;
    }
    reply.body = buffer_.substr(0, size);
    buffer_.erase(0, size);
    return reply;
  }

  // Whether the server ends the connection within the time; what comes before is kept.
  bool wait_closed(Millis patience = kPatience) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!ended_) {
      const auto left =
          std::chrono::duration_cast<Millis>(until - std::chrono::steady_clock::now());
      if (left.count() <= 0) return false;
      receive_some(left);
    }
    return true;
  }

 private:
  int fd_;
  bool connected_ = false;
  bool ended_ = false;
  std::string buffer_;
};

}  // namespace bai::http::test
