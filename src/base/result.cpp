#include "bai_manager/result.hpp"

namespace bai {

std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::InvalidArgument:
      return "invalid-argument";
    case ErrorCode::Unauthenticated:
      return "unauthenticated";
    case ErrorCode::PermissionDenied:
      return "permission-denied";
    case ErrorCode::NotFound:
      return "not-found";
    case ErrorCode::AlreadyExists:
      return "already-exists";
    case ErrorCode::Conflict:
      return "conflict";
    case ErrorCode::QuotaExceeded:
      return "quota-exceeded";
    case ErrorCode::Unschedulable:
      return "unschedulable";
    case ErrorCode::Unavailable:
      return "unavailable";
    case ErrorCode::DeadlineExceeded:
      return "deadline-exceeded";
    case ErrorCode::Cancelled:
      return "cancelled";
    case ErrorCode::InDoubt:
      return "in-doubt";
    case ErrorCode::Corruption:
      return "corruption";
    case ErrorCode::Unsupported:
      return "unsupported";
    case ErrorCode::Internal:
      return "internal";
  }
  return "internal";
}

}  // namespace bai
