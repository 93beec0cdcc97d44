// Bytes to requests, strictly: a pure, incremental HTTP/1.x request parser.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "http/message.hpp"

namespace bai::http {

struct ParserLimits {
  std::size_t request_line_bytes = 8 * 1024;      // 414
  std::size_t header_line_bytes = 16 * 1024;      // 431
  std::size_t header_bytes = 64 * 1024;           // all header lines of one request; 431
  std::size_t header_count = 100;                 // 431
  std::size_t body_bytes = 32 * 1024 * 1024;      // after removing the transfer coding; 413
  std::size_t chunk_line_bytes = 256;             // one chunk-size line with its extensions; 400
  std::size_t chunk_extension_bytes = 16 * 1024;  // all extensions of one request; 400
};

// Why bytes are not a request. After any of them the boundary of the next request is unknown, so
// the connection is closed behind the error response.
enum class FramingError : std::uint8_t {
  BadRequestLine,
  BadTarget,
  RequestLineTooLong,
  UnsupportedVersion,
  BareLineFeed,
  BadHeaderName,
  BadHeaderValue,
  FoldedHeader,
  HeaderLineTooLong,
  HeadersTooLarge,
  TooManyHeaders,
  BadHost,
  BadContentLength,
  RepeatedContentLength,
  LengthAndEncoding,
  BadTransferEncoding,
  UnsupportedTransferEncoding,
  UnsupportedExpectation,
  BadChunk,
  BadTrailer,
  BodyTooLarge,
};
inline constexpr std::size_t kFramingErrorCount =
    static_cast<std::size_t>(FramingError::BodyTooLarge) + 1;

std::string_view to_string(FramingError error) noexcept;  // "bad-request-line", ...
int status_of(FramingError error) noexcept;               // 400, 413, 414, 417, 431, 501 or 505
std::string_view describe(FramingError error) noexcept;   // a sentence for the client

// One thread at a time. How the bytes are cut into feeds never changes the outcome: the same
// requests come out and the same error ends them.
class RequestParser {
 public:
  // Asked once per request when its headers are complete and it has a body; the answer replaces
  // `ParserLimits::body_bytes` for that request.
  using BodyLimit = std::function<std::size_t(const Request&)>;

  explicit RequestParser(ParserLimits limits = {}, BodyLimit body_limit = {});

  // Consumes bytes up to the end of the current request and returns how many. Consumes nothing
  // more once done() or failed.
  std::size_t feed(std::string_view bytes);

  bool done() const noexcept { return state_ == State::Done; }
  std::optional<FramingError> error() const noexcept { return error_; }
  // A byte of the current request has been seen.
  bool started() const noexcept { return started_; }
  // The headers are complete, the body is still coming.
  bool in_body() const noexcept { return state_ >= State::FixedBody && state_ <= State::Trailer; }
  // In the body, and the client waits for "100 Continue" before sending it.
  bool expects_continue() const noexcept { return expects_continue_ && in_body(); }
  // The request under construction: for the error response of a request whose line was read.
  const Request& current() const noexcept { return request_; }

  // The finished request; the parser is ready for the next one.
  Request take();

 private:
  enum class State : std::uint8_t {
    StartLine,
    HeaderLine,
    FixedBody,
    ChunkSize,
    ChunkData,
    ChunkEnd,
    Trailer,
    Done,
    Failed,
  };

  void fail_with(FramingError error) noexcept;
  std::size_t line_room(FramingError& overflow) const noexcept;
  std::size_t feed_line(std::string_view bytes);
  void on_line(std::string_view line);
  void on_start_line(std::string_view line);
  bool parse_target(std::string_view target);
  void on_header_line(std::string_view line);
  void on_headers_done();
  bool check_host();
  bool check_body_framing();
  void on_chunk_size(std::string_view line);
  void on_trailer_line(std::string_view line);
  std::size_t feed_body(std::string_view bytes);
  std::size_t feed_chunk_end(std::string_view bytes);

  ParserLimits limits_;
  BodyLimit body_limit_;
  State state_ = State::StartLine;
  std::optional<FramingError> error_;
  bool started_ = false;
  bool skipped_blank_ = false;
  bool expects_continue_ = false;
  bool chunk_cr_seen_ = false;
  Request request_;
  std::string line_;              // the part of an unfinished line that came with earlier feeds
  std::string authority_;         // of an absolute-form target
  std::size_t header_bytes_ = 0;  // of finished lines
  std::size_t header_lines_ = 0;
  std::size_t extension_bytes_ = 0;
  std::size_t body_room_ = 0;  // bytes the body may still grow (chunked)
  std::size_t remaining_ = 0;  // bytes of the fixed body or the current chunk still to come
};

}  // namespace bai::http
