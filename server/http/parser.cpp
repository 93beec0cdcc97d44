#include "http/parser.hpp"

#include <algorithm>
#include <utility>

#include "http/text.hpp"

namespace bai::http {
namespace {

// Memory set aside on the word of a Content-Length alone.
constexpr std::size_t kTrustedReserve = 64 * 1024;

bool is_value_byte(char c) noexcept {
  const auto byte = static_cast<unsigned char>(c);
  return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

bool all_value_bytes(std::string_view text) noexcept {
  for (char c : text) {
    if (!is_value_byte(c)) return false;
  }
  return true;
}

bool is_host(std::string_view host) noexcept {
  if (host.empty()) return false;
  for (char c : host) {
    const bool ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    std::string_view("-._~!$&'()*+;=:[]%").find(c) != std::string_view::npos;
    if (!ok) return false;
  }
  return true;
}

// Digits only; empty when it is not a number below 10^18.
std::optional<std::size_t> parse_decimal(std::string_view text) noexcept {
  if (text.empty() || text.size() > 18) return std::nullopt;
  std::size_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<std::size_t>(c - '0');
  }
  return value;
}

// Hexadecimal digits only; empty when it is not a number below 2^60.
std::optional<std::size_t> parse_hex(std::string_view text) noexcept {
  if (text.empty() || text.size() > 15) return std::nullopt;
  std::size_t value = 0;
  for (char c : text) {
    std::size_t digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<std::size_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<std::size_t>(c - 'a' + 10);
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<std::size_t>(c - 'A' + 10);
    } else {
      return std::nullopt;
    }
    value = value * 16 + digit;
  }
  return value;
}

struct Description {
  FramingError error;
  int status;
  std::string_view name;
  std::string_view text;
};

constexpr Description kDescriptions[] = {
    {FramingError::BadRequestLine, 400, "bad-request-line",
     "The request line must be METHOD SP TARGET SP HTTP/1.1, with single spaces."},
    {FramingError::BadTarget, 400, "bad-target",
     "The request target must be a percent-encoded UTF-8 path that begins with '/'."},
    {FramingError::RequestLineTooLong, 414, "request-line-too-long",
     "The request line is longer than this server accepts."},
    {FramingError::UnsupportedVersion, 505, "unsupported-version",
     "Only HTTP/1.0 and HTTP/1.1 are spoken here."},
    {FramingError::BareLineFeed, 400, "bare-line-feed",
     "Lines of the request head must end with CR LF."},
    {FramingError::BadHeaderName, 400, "bad-header-name",
     "A header name must be a token directly followed by a colon."},
    {FramingError::BadHeaderValue, 400, "bad-header-value",
     "A header value must not contain control characters."},
    {FramingError::FoldedHeader, 400, "folded-header",
     "A header must be on one line; line folding is obsolete."},
    {FramingError::HeaderLineTooLong, 431, "header-line-too-long",
     "A header line is longer than this server accepts."},
    {FramingError::HeadersTooLarge, 431, "headers-too-large",
     "The headers together are larger than this server accepts."},
    {FramingError::TooManyHeaders, 431, "too-many-headers",
     "There are more headers than this server accepts."},
    {FramingError::BadHost, 400, "bad-host",
     "Exactly one Host header with a valid host name is required."},
    {FramingError::BadContentLength, 400, "bad-content-length",
     "Content-Length must be a decimal number."},
    {FramingError::RepeatedContentLength, 400, "repeated-content-length",
     "Content-Length must be given once."},
    {FramingError::LengthAndEncoding, 400, "length-and-encoding",
     "Content-Length and Transfer-Encoding must not be given together."},
    {FramingError::BadTransferEncoding, 400, "bad-transfer-encoding",
     "Transfer-Encoding must be given once, not empty, and only with HTTP/1.1."},
    {FramingError::UnsupportedTransferEncoding, 501, "unsupported-transfer-encoding",
     "The only transfer coding supported is chunked."},
    {FramingError::UnsupportedExpectation, 417, "unsupported-expectation",
     "The only expectation supported is 100-continue."},
    {FramingError::BadChunk, 400, "bad-chunk", "The chunked body is malformed."},
    {FramingError::BadTrailer, 400, "bad-trailer",
     "The trailer section of the chunked body is malformed or names a framing header."},
    {FramingError::BodyTooLarge, 413, "body-too-large",
     "The body is larger than this server accepts."},
};
static_assert(std::size(kDescriptions) == kFramingErrorCount);

const Description& description_of(FramingError error) noexcept {
  return kDescriptions[static_cast<std::size_t>(error)];
}

}  // namespace

std::string_view to_string(FramingError error) noexcept { return description_of(error).name; }
int status_of(FramingError error) noexcept { return description_of(error).status; }
std::string_view describe(FramingError error) noexcept { return description_of(error).text; }

RequestParser::RequestParser(ParserLimits limits, BodyLimit body_limit)
    : limits_(limits), body_limit_(std::move(body_limit)) {}

void RequestParser::fail_with(FramingError error) noexcept {
  error_ = error;
  state_ = State::Failed;
}

Request RequestParser::take() {
  Request request = std::move(request_);
  request_ = {};
  state_ = State::StartLine;
  started_ = skipped_blank_ = expects_continue_ = chunk_cr_seen_ = false;
  line_.clear();
  authority_.clear();
  header_bytes_ = header_lines_ = extension_bytes_ = body_room_ = remaining_ = 0;
  return request;
}

std::size_t RequestParser::feed(std::string_view bytes) {
  const std::size_t total = bytes.size();
  while (!bytes.empty() && state_ != State::Done && state_ != State::Failed) {
    started_ = true;
    std::size_t used = 0;
    switch (state_) {
      case State::FixedBody:
      case State::ChunkData:
        used = feed_body(bytes);
        break;
      case State::ChunkEnd:
        used = feed_chunk_end(bytes);
        break;
      default:
        used = feed_line(bytes);
        break;
    }
    bytes.remove_prefix(used);
  }
  return total - bytes.size();
}

// How many more bytes the current line may have, its CR included, and what it is to have more.
std::size_t RequestParser::line_room(FramingError& overflow) const noexcept {
  switch (state_) {
    case State::StartLine:
      overflow = FramingError::RequestLineTooLong;
      return limits_.request_line_bytes;
    case State::ChunkSize:
      overflow = FramingError::BadChunk;
      return limits_.chunk_line_bytes;
    default:
      break;
  }
  const std::size_t rest =
      limits_.header_bytes > header_bytes_ ? limits_.header_bytes - header_bytes_ : 0;
  overflow = rest < limits_.header_line_bytes ? FramingError::HeadersTooLarge
                                              : FramingError::HeaderLineTooLong;
  return std::min(rest, limits_.header_line_bytes);
}

// The length check comes before all others, so that it does not matter whether an over-long line
// arrives whole or in pieces.
std::size_t RequestParser::feed_line(std::string_view bytes) {
  const std::size_t newline = bytes.find('\n');
  const std::size_t piece = std::min(newline, bytes.size());
  FramingError overflow{};
  if (line_.size() + piece > line_room(overflow)) {
    fail_with(overflow);
    return bytes.size();
  }
  if (newline == std::string_view::npos) {
    line_.append(bytes);
    return bytes.size();
  }
  std::string_view line = bytes.substr(0, newline);
  std::string joined;
  if (!line_.empty()) {
    joined = std::exchange(line_, {});
    joined.append(line);
    line = joined;
  }
  if (line.empty() || line.back() != '\r') {
    fail_with(state_ == State::ChunkSize ? FramingError::BadChunk : FramingError::BareLineFeed);
    return newline + 1;
  }
  line.remove_suffix(1);
  on_line(line);
  return newline + 1;
}

void RequestParser::on_line(std::string_view line) {
  switch (state_) {
    case State::StartLine:
      if (!line.empty()) return on_start_line(line);
      // One empty line before a request is what some clients leave behind a previous body.
      if (skipped_blank_) return fail_with(FramingError::BadRequestLine);
      skipped_blank_ = true;
      return;
    case State::HeaderLine:
      header_bytes_ += line.size() + 2;
      return line.empty() ? on_headers_done() : on_header_line(line);
    case State::ChunkSize:
      return on_chunk_size(line);
    case State::Trailer:
      header_bytes_ += line.size() + 2;
      if (!line.empty()) return on_trailer_line(line);
      state_ = State::Done;
      return;
    default:
      return;
  }
}

void RequestParser::on_start_line(std::string_view line) {
  const auto first = line.find(' ');
  const auto last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return fail_with(FramingError::BadRequestLine);
  }
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (!is_token(method) || version.size() != 8 || !version.starts_with("HTTP/") ||
      !digit(version[5]) || version[6] != '.' || !digit(version[7])) {
    return fail_with(FramingError::BadRequestLine);
  }
  if (version[5] != '1' || version[7] > '1') return fail_with(FramingError::UnsupportedVersion);
  request_.version_minor = version[7] - '0';
  request_.method = method;
  if (!parse_target(target)) return fail_with(FramingError::BadTarget);
  state_ = State::HeaderLine;
}

bool RequestParser::parse_target(std::string_view target) {
  for (char c : target) {
    if (c <= 0x20 || c >= 0x7f || c == '#') return false;
  }
  request_.target = target;
  if (target == "*" && request_.method == "OPTIONS") {
    request_.path.assign(1, '*');
    request_.raw_path.assign(1, '*');
    return true;
  }
  if (!target.starts_with('/')) {  // http://host/path, as sent to a proxy
    const auto scheme_end = target.find("://");
    if (scheme_end == std::string_view::npos) return false;
    const std::string scheme = to_lower(target.substr(0, scheme_end));
    if (scheme != "http" && scheme != "https") return false;
    target.remove_prefix(scheme_end + 3);
    const auto path_start = std::min(target.find_first_of("/?"), target.size());
    authority_ = target.substr(0, path_start);
    if (!is_host(authority_)) return false;
    target.remove_prefix(path_start);
  }
  const auto question = target.find('?');
  request_.raw_path = target.substr(0, question);
  if (request_.raw_path.empty()) request_.raw_path.assign(1, '/');
  auto path = percent_decode(request_.raw_path);
  if (!path || !is_utf8(*path) || path->find('\0') != std::string::npos) return false;
  request_.path = std::move(*path);
  if (question != std::string_view::npos) request_.query = parse_query(target.substr(question + 1));
  return true;
}

void RequestParser::on_header_line(std::string_view line) {
  if (line.front() == ' ' || line.front() == '\t') return fail_with(FramingError::FoldedHeader);
  const auto colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
    return fail_with(FramingError::BadHeaderName);
  }
  const std::string_view value = trim(line.substr(colon + 1));
  if (!all_value_bytes(value)) return fail_with(FramingError::BadHeaderValue);
  if (++header_lines_ > limits_.header_count) return fail_with(FramingError::TooManyHeaders);
  request_.headers.add(std::string(line.substr(0, colon)), std::string(value));
}

void RequestParser::on_headers_done() {
  if (!check_host() || !check_body_framing()) return;
  const Headers& headers = request_.headers;
  request_.keep_alive =
      request_.version_minor == 0 ? headers.has_token("Connection", "keep-alive") : true;
  if (headers.has_token("Connection", "close")) request_.keep_alive = false;
  const std::string* expect = request_.version_minor == 1 ? headers.find("Expect") : nullptr;
  if (expect && !iequals(*expect, "100-continue")) {
    return fail_with(FramingError::UnsupportedExpectation);
  }
  expects_continue_ = expect != nullptr;
  if (state_ == State::HeaderLine) state_ = State::Done;  // no body
}

bool RequestParser::check_host() {
  const std::size_t hosts = request_.headers.count("Host");
  const std::string_view host = request_.headers.get("Host");
  const bool missing = hosts == 0 && request_.version_minor == 1;
  const bool malformed = hosts > 0 && !is_host(host);
  const bool contradicts = hosts > 0 && !authority_.empty() && !iequals(authority_, host);
  if (hosts > 1 || missing || malformed || contradicts) {
    fail_with(FramingError::BadHost);
    return false;
  }
  return true;
}

// Decides how long the body is; anything that two parsers could read differently is refused.
bool RequestParser::check_body_framing() {
  const Headers& headers = request_.headers;
  const std::size_t lengths = headers.count("Content-Length");
  const std::size_t encodings = headers.count("Transfer-Encoding");
  const auto refuse = [this](FramingError error) {
    fail_with(error);
    return false;
  };
  if (lengths > 0 && encodings > 0) return refuse(FramingError::LengthAndEncoding);
  if (lengths > 1) return refuse(FramingError::RepeatedContentLength);
  if (encodings > 0) {
    const std::string_view encoding = headers.get("Transfer-Encoding");
    if (encodings > 1 || encoding.empty() || request_.version_minor == 0) {
      return refuse(FramingError::BadTransferEncoding);
    }
    if (!iequals(encoding, "chunked")) return refuse(FramingError::UnsupportedTransferEncoding);
    body_room_ = body_limit_ ? body_limit_(request_) : limits_.body_bytes;
    state_ = State::ChunkSize;
    return true;
  }
  if (lengths == 0) return true;
  const auto length = parse_decimal(headers.get("Content-Length"));
  if (!length) return refuse(FramingError::BadContentLength);
  if (*length == 0) return true;
  if (*length > (body_limit_ ? body_limit_(request_) : limits_.body_bytes)) {
    return refuse(FramingError::BodyTooLarge);
  }
  remaining_ = *length;
  request_.body.reserve(std::min(remaining_, kTrustedReserve));
  state_ = State::FixedBody;
  return true;
}

void RequestParser::on_chunk_size(std::string_view line) {
  const auto semicolon = std::min(line.find(';'), line.size());
  const auto size = parse_hex(line.substr(0, semicolon));
  extension_bytes_ += line.size() - semicolon;
  if (!size || !all_value_bytes(line) || extension_bytes_ > limits_.chunk_extension_bytes) {
    return fail_with(FramingError::BadChunk);
  }
  if (*size > body_room_) return fail_with(FramingError::BodyTooLarge);
  body_room_ -= *size;
  remaining_ = *size;
  state_ = *size == 0 ? State::Trailer : State::ChunkData;
}

std::size_t RequestParser::feed_body(std::string_view bytes) {
  const std::size_t n = std::min(bytes.size(), remaining_);
  request_.body.append(bytes.data(), n);
  remaining_ -= n;
  if (remaining_ == 0) state_ = state_ == State::FixedBody ? State::Done : State::ChunkEnd;
  return n;
}

std::size_t RequestParser::feed_chunk_end(std::string_view bytes) {
  const char expected = chunk_cr_seen_ ? '\n' : '\r';
  if (bytes.front() != expected) {
    fail_with(FramingError::BadChunk);
  } else if (chunk_cr_seen_) {
    chunk_cr_seen_ = false;
    state_ = State::ChunkSize;
  } else {
    chunk_cr_seen_ = true;
  }
  return 1;
}

void RequestParser::on_trailer_line(std::string_view line) {
  const auto colon = line.find(':');
  const std::string_view name = line.substr(0, std::min(colon, line.size()));
  if (colon == std::string_view::npos || !is_token(name) ||
      !all_value_bytes(line.substr(colon + 1)) || iequals(name, "Content-Length") ||
      iequals(name, "Transfer-Encoding") || iequals(name, "Host") ||
      iequals(name, "Authorization")) {
    return fail_with(FramingError::BadTrailer);
  }
  if (++header_lines_ > limits_.header_count) fail_with(FramingError::TooManyHeaders);
}

}  // namespace bai::http
