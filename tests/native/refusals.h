// Expects a call to be refused with a status and a message that contains a text.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "kv8/kv8.h"

#define EXPECT_REFUSED(call, expected_status, text)                                     \
    do {                                                                                \
        EXPECT_EQ(call, expected_status) << #call;                                      \
        EXPECT_NE(std::string(kv8_last_error()).find(text), std::string::npos)          \
            << #call << "\nexpected: " << (text) << "\nmessage:  " << kv8_last_error(); \
    } while (false)
