#include "local_agent/output_pipe.hpp"

#include <fcntl.h>
#include <sys/epoll.h>

#include <array>
#include <cerrno>

namespace bai::server::local {

OutputPipe::OutputPipe(EventLoop& loop, Fd fd, Stream stream, OnOutput on_output)
    : loop_(loop), fd_(std::move(fd)), stream_(stream), on_output_(std::move(on_output)) {
  loop_.watch(fd_.get(), EPOLLIN, [this](std::uint32_t) { read_once(); });
}

OutputPipe::~OutputPipe() {
  if (fd_) loop_.unwatch(fd_.get());
}

bool OutputPipe::read_once() {
  if (!fd_) return false;
  std::array<char, 65536> buffer;
  const auto got = ::read(fd_.get(), buffer.data(), buffer.size());
  if (got > 0) {
    const std::string_view raw(buffer.data(), static_cast<std::size_t>(got));
    on_output_(stream_, raw, utf8_.feed(raw));
    return true;
  }
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  loop_.unwatch(fd_.get());  // every writer has closed it
  fd_.reset();
  return false;
}

void OutputPipe::drain() {
  if (!fd_) return;
  // What was written before now fits in the pipe's capacity.
  const int capacity = ::fcntl(fd_.get(), F_GETPIPE_SZ);
  constexpr int kPieceBytes = 65536;
  const int most = (capacity > 0 ? capacity : kPieceBytes) / 4096 + 1;  // short pieces happen
  for (int i = 0; i < most && read_once(); ++i) {
  }
}

void OutputPipe::finish() {
  drain();
  const std::string rest = utf8_.finish();
  if (!rest.empty()) on_output_(stream_, {}, rest);
}

}  // namespace bai::server::local
