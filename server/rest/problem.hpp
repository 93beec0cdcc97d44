// One table from library errors to the error bodies of the wire.
#pragma once

#include <span>
#include <string_view>

#include "bai_manager/result.hpp"
#include "http/message.hpp"

namespace bai::server {

// How an error looks on the wire: `type` is https://api.backend.ai/probs/<slug>.
struct Problem {
  int status = 500;
  std::string_view slug, title, error_code;
};

struct KindProblem {
  std::string_view kind;
  Problem problem;
};

// Every kind that has a form of its own, ordered by kind.
std::span<const KindProblem> known_problems() noexcept;
// By kind when it is known, else by code.
const Problem& problem_of(const Error& error) noexcept;
const Problem& problem_of(ErrorCode code) noexcept;

// `msg` is the error's message, `data` its data as an object (left out when empty).
http::Response to_response(const Error& error);

}  // namespace bai::server
