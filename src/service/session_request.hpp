// Turning what a user asks for into a session and its kernels, or into the reason why not.
#pragma once

#include <string_view>
#include <vector>

#include "core/context.hpp"

namespace bai::service {

struct SessionDraft {
  Session session;
  std::vector<Kernel> kernels;
};

// Everything but the name's uniqueness and the reuse of sessions.
Result<SessionDraft> draft_session(core::Context& ctx, const Caller& caller,
                                   const CreateSession& request, const Keypair& owner);

// 4 to 64 characters: letters, digits and '_', inside also '.' and '-'.
bool is_valid_session_name(std::string_view name) noexcept;

// An active project that the user may work in: a member, or a superadmin.
Result<const Project*> find_project(const State& state, const User& user, const DomainName& domain,
                                    std::string_view name);

const Image* find_image(const State& state, std::string_view name, std::string_view architecture);

}  // namespace bai::service
