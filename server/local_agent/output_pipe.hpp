// One of a child's output streams as the supervisor reads it.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "local_agent/event_loop.hpp"
#include "local_agent/fd.hpp"
#include "local_agent/file_util.hpp"

namespace bai::server::local {

enum class Stream : std::uint8_t { Out, Err };

// `text` is valid UTF-8, `raw` what the child wrote; either may be empty, not both.
using OnOutput = std::function<void(Stream stream, std::string_view raw, std::string text)>;

// Loop thread only. Callbacks must not destroy the pipe.
class OutputPipe {
 public:
  OutputPipe(EventLoop& loop, Fd fd, Stream stream, OnOutput on_output);
  ~OutputPipe();
  OutputPipe(const OutputPipe&) = delete;
  OutputPipe& operator=(const OutputPipe&) = delete;

  // Everything written before this call is delivered; bounded even when the writer never stops.
  void drain();
  void finish();  // drains; an incomplete character at the end is delivered as it is

 private:
  bool read_once();

  EventLoop& loop_;
  Fd fd_;
  Stream stream_;
  OnOutput on_output_;
  Utf8Stream utf8_;
};

}  // namespace bai::server::local
